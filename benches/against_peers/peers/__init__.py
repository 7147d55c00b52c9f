"""The peers: each module has one function, `kernel`, and imports one library.

`kernel(model, data, outputs)` loads the network and returns the work itself, a
function without arguments whose result is the inner products of the examples'
gradients, summed over the outputs.
"""
