"""The names of model providers, as the GenAI conventions spell them.

Pure: no OpenTelemetry.
"""

from __future__ import annotations

from typing import Final

_SPELLINGS: Final[dict[str, str]] = {
    # conventions before `gen_ai.provider.name`
    "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
    # OpenInference `llm.provider` and `llm.system`
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gen_ai",
    "mistralai": "mistral_ai",
    "vertexai": "gcp.vertex_ai",
    # older OpenLLMetry `gen_ai.system`
    "watsonx": "ibm.watsonx.ai",
    # LiteLLM `custom_llm_provider`
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "mistral": "mistral_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
}


def provider_name(name: str) -> str:
    """The conventions' name of a provider, else the same name in lower case."""
    lowered = name.lower()
    return _SPELLINGS.get(lowered, lowered)
