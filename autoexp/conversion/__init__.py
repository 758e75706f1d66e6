"""Converting Megatron-LM's checkpoints to Hugging Face's format, without Megatron, torch or a GPU.

A checkpoint becomes a `Source` (which weights lie where), its `Traits` choose an architecture, whose rules name every
tensor of the result before one is read; then the bytes are copied, and appear under their name all at once.
"""
