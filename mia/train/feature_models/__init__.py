"""`mia-train features`: fits the models behind the regime, latent and memory columns, and the forecast of VIX.

Everything here looks at one stretch of rows and no further: what the models are applied to must come later, which the span in the
file (FeatureModels.fit) lets others check.
"""
