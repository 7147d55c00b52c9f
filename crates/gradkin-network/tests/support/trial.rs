//! What a file of unknown origin goes through: load it, and where that works run one example.

use gradkin_network::{Collected, InputData, Model, Network, NetworkError, Sweep};

/// Load a model.
pub(crate) fn load(bytes: &[u8]) -> Result<Network, NetworkError> {
    let model = Model::from_bytes(bytes, "a damaged model")?;
    Network::new(&model, &Default::default())
}

/// Draw the weights anew and write the file back; what was written must be the same network.
pub(crate) fn redraw(bytes: &[u8]) {
    let Ok(mut model) = Model::from_bytes(bytes, "a damaged model") else { return };
    let Ok(report) = model.draw_weights(1) else { return };
    let Ok(written) = model.encode(bytes) else { return };
    let back = Model::from_bytes(&written, "a model that was written").unwrap();
    for (name, _) in report.drawn {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 0.01 * a.abs().max(1e-6);
        let (new, read) = (model.values(&name).unwrap(), back.values(&name).unwrap());
        assert!(new.len() == read.len() && new.iter().zip(&read).all(close), "{name}");
    }
}

/// Run one example forward and back, if that is little work.
pub(crate) fn run(network: &Network) -> Result<(), NetworkError> {
    let sweep = Sweep::new(network, None, None)?;
    // Sizes that a damaged shape blew up are not worth the wait.
    const MOST: usize = 1 << 20;
    let outputs = sweep.output_shape().iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    if outputs.is_none_or(|outputs| outputs > 64) || sweep.working_set(1) > MOST {
        return Ok(());
    }
    let inputs = network
        .inputs()
        .iter()
        .map(|input| {
            let count = input.shape.iter().product();
            if input.integer {
                InputData::I64(vec![1; count])
            } else {
                InputData::F32(vec![0.5; count])
            }
        })
        .collect();
    let pass = sweep.forward(inputs, 1)?;
    sweep.reverse(&pass, &sweep.identity(1)?, &mut Collected::default())
}
