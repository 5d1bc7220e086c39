"""The restorer outside training: as one module, as an exported graph, as CUDA graphs."""
