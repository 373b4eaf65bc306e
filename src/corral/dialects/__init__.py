"""
Client wire formats as pure codecs: `openai`, `anthropic`, `ollama`.

Strangers to each other; they meet in domain.chat.
"""
