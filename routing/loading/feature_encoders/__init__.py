"""Feature encoders: maps from samples to feature vectors, fitted once and applied many times.

    table.py                 ENCODERS, the encoders by their names in the config
    pca.py, identity.py      linear encoders
    pretrained.py            encoders by a pretrained image network
    fitting_samples.py       the training samples that an encoder is fitted on
    principal_components.py  the mean and the directions of largest variance
    fitted_encoders.py       a fitted encoder, loaded from its artifact and applied to samples

The stage fit_encoder fits an encoder; embed, sample_features and samples apply it.

To add an encoder, write a frozen dataclass of its options with `max_fit`, the largest number of
samples it is fitted on, and `fit(samples) -> (arrays, metadata)`, and give it a row in ENCODERS.
`metadata["kind"]` says which class of fitted_encoders.py applies the arrays.
"""
