//! What is computed between two examples: METHOD-wise the choice of kind, reduction and metric.

/// Which similarity (section 2 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// K(x, x') = J J'ᵀ, the empirical neural tangent kernel.
    Inner,
    /// K(x, x') K(x', x')⁻¹: how far f(x) moves when f(x') is moved by one. Not symmetric.
    Influence,
    /// K(x, x)^−½ K(x, x') K(x', x')^−½: symmetric and free of scale.
    #[default]
    Correlation,
}

/// How the d×d matrix of two examples becomes one number, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// The matrix itself.
    Matrix,
    /// Its trace; divided by the rank for influence and correlation, so that an example's
    /// similarity to itself is one. Where two examples differ in rank, by √(r r').
    #[default]
    Trace,
    /// (1/r) max Tr(R K) over rotations R ∈ SO(d), for outputs known up to a rotation.
    Rotation,
}

/// How distances between outputs are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// M = I.
    #[default]
    Euclidean,
    /// The Fisher metric of softmax classification, M = diag(p) − p pᵀ on logits: J becomes M^½ J.
    Fisher,
}
