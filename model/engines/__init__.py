"""Ground phrases with other people's models: transformers classes, local safetensors.

Every engine answers as ``model.GroundingModel`` does. Their scores are those of the
checkpoint: nobody has calibrated them on medical images, and their uncertainty says
no more than how far the score is from certainty.
"""
