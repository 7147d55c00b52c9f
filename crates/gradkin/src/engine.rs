//! The order in which blocks of two sets are swept and meet, whatever computes them: the host's memory
//! and threads, or the device that the network lives on.

use std::ops::Range;

use crate::blocks::Blocks;
use crate::error::Result;
use crate::examples::Examples;
use crate::features::Side;
use crate::finish::Standing;
use crate::kernel::Undefined;

/// Computes features of blocks and the pairs between them.
pub(crate) trait Engine {
    /// Encoded examples of a block.
    type Features;

    /// No examples.
    fn empty(&self) -> Self::Features;

    /// Sweep a range of examples, in place of those that were encoded before.
    fn encode(
        &self,
        examples: &dyn Examples,
        range: Range<usize>,
        side: Side,
        features: &mut Self::Features,
    ) -> Result<()>;

    /// Which examples have a similarity, for a block that starts at `start`.
    fn standing<'f>(&self, features: &'f Self::Features, start: usize) -> Standing<'f>;

    /// All pairs between two encoded blocks, each with where it starts; the same block twice gives its
    /// upper triangle.
    fn block(&self, left: (&Self::Features, usize), right: (&Self::Features, usize)) -> Result<()>;
}

/// What is to be brought together.
pub(crate) struct Sets<'s> {
    pub(crate) rows: &'s dyn Examples,
    pub(crate) columns: &'s dyn Examples,
    /// Whether both are one set of which a triangle of pairs is enough.
    pub(crate) symmetric: bool,
    /// Whether examples of rank zero have no similarity.
    pub(crate) zero_counts: bool,
}

impl Sets<'_> {
    /// Every pair once; which rows and which columns have no similarity.
    pub(crate) fn meet<E: Engine>(
        &self,
        engine: &E,
        blocks: &Blocks,
    ) -> Result<(Undefined, Undefined)> {
        let mut undefined = (Undefined::default(), Undefined::default());
        let (mut left, mut right) = (engine.empty(), engine.empty());
        for i in blocks.rows() {
            engine.encode(self.rows, i.clone(), Side::Row, &mut left)?;
            undefined.0.note(engine.standing(&left, i.start), self.zero_counts);
            if self.symmetric {
                engine.block((&left, i.start), (&left, i.start))?;
            }
            for j in blocks.columns(&i) {
                engine.encode(self.columns, j.clone(), Side::Column, &mut right)?;
                undefined.1.note(engine.standing(&right, j.start), self.zero_counts);
                engine.block((&left, i.start), (&right, j.start))?;
            }
        }
        if self.symmetric {
            undefined.1 = undefined.0.clone();
        }
        undefined.0.tidy();
        undefined.1.tidy();
        Ok(undefined)
    }
}
