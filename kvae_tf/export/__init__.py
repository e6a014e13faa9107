"""Export of a trained model as a SavedModel, loading, model cards and LiteRT files."""
