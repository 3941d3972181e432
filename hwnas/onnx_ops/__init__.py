"""From an ONNX file that anybody wrote to operations; needs no torch, and reads no weights."""
