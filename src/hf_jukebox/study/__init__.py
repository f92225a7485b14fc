"""Study of music with the models: embeddings, likelihoods and evaluation."""
