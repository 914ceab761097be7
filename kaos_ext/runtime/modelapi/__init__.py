"""The model proxy: one OpenAI-compatible address in front of any other, with an allow-list and mock responses."""
