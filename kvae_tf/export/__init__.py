"""A trained model as a SavedModel, and back; cards and other formats."""
