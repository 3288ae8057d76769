"""Who answers: one adapter a provider, all behind ``protocols.LLMProvider``."""
