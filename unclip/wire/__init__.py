"""Between messages and values: tensors, embeddings, pictures, sampling settings, and the limits on all of them."""
