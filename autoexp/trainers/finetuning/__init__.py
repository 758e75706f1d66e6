"""The parts of `trainers.hf_finetune`."""
