"""Building, compiling and training the model that settings describe."""
