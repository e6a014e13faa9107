"""Arrays and models to pictures, films, TensorBoard figures and the HTML report."""
