"""Small asyncio, ASGI and text tools that know nothing of models."""
