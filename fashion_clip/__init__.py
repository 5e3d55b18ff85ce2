"""The model core: CLIP encoders, taxonomies and prompts, zero-shot scoring.

Knows bytes, arrays, local folders and hub names; no Prefect, no SQL, no S3.
"""
