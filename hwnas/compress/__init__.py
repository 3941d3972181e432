"""Compression: pruning, quantization, distillation; model + plan -> model."""
