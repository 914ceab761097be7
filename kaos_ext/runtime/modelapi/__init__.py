"""The ModelAPI runtime: a thin proxy to any OpenAI-compatible upstream."""
