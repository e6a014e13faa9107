"""Export of a trained model as a SavedModel, loading, model cards, LiteRT and ONNX files."""
