"""What llama.cpp, vLLM and LM Studio say of their models, and how they refuse one: the bytes of the real ones."""

from __future__ import annotations

from typing import Literal

from tests.support.wire.script import Json, WireRequest
from tests.support.wire.speech import House, Reply, compact

LocalServer = Literal["llama.cpp", "vllm", "lm_studio"]
TRAINED = 32_768


def refused(asked: WireRequest, house: House) -> Reply | None:
    """Return how the server refuses a model that it does not have; llama.cpp answers to any name."""
    if house.models is None or asked.model in house.models:
        return None
    match house.like:
        case "vllm":
            said = f"The model `{asked.model}` does not exist."
            return _json({"error": {"message": said, "type": "NotFoundError", "param": "model", "code": 404}}, 404)
        case "lm_studio":
            said = f'Invalid model identifier "{asked.model}". Please specify a valid downloaded model.'
            error = {"message": said, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
            return _json({"error": error}, 404)
        case _:
            return None


def lookup(path: str, house: House) -> Reply:
    """Answer the list of models, and what the server says of itself or of one model."""
    names, place = house.models or ("qwen1.5b",), "/" + path.lstrip("/")
    match house.like, place:
        case "llama.cpp", "/v1/models" | "/models":
            return _json({"models": [], "object": "list", "data": [_llama_row(name) for name in names]})
        case "llama.cpp", "/props":
            slot = {"id": 0, "id_task": -1, "n_ctx": house.context_length, "speculative": False, "params": {}}
            return _json({"default_generation_settings": slot, "total_slots": 1, "model_path": f"/models/{names[0]}"})
        case "llama.cpp", _:
            return _json({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, 404)
        case "vllm", "/v1/models":
            return _json({"object": "list", "data": [_vllm_row(name, house.context_length) for name in names]})
        case "vllm", _:
            return _json({"detail": "Not Found"}, 404)
        case "lm_studio", "/v1/models":
            rows = [{"id": name, "object": "model", "owned_by": "organization_owner"} for name in names]
            return _json({"data": rows, "object": "list"})
        case "lm_studio", _ if (
            place.startswith("/api/v0/models/") and (name := place.partition("v0/models/")[2]) in names
        ):
            return _json(_studio_card(name, house.context_length))
    return _json({"error": f"Unexpected endpoint or method. (GET {path})"})  # LM Studio's status for it is 200


def _llama_row(name: str) -> Json:
    sizes = {
        "n_vocab": 151_936,
        "n_ctx_train": TRAINED,
        "n_embd": 1536,
        "n_params": 1_543_714_304,
        "size": 1_117_320_704,
    }
    row = {"id": name, "object": "model", "created": 1_764_437_000, "owned_by": "llamacpp"}
    return {**row, "meta": {"vocab_type": 2, **sizes}}


def _vllm_row(name: str, window: int) -> Json:
    row: Json = {"id": name, "object": "model", "created": 1_764_437_000, "owned_by": "vllm", "root": name}
    return {**row, "parent": None, "max_model_len": window, "permission": []}


def _studio_card(name: str, window: int) -> Json:
    card: Json = {"id": name, "object": "model", "type": "llm", "publisher": "lmstudio-community", "arch": "qwen2"}
    return {**card, "state": "loaded", "max_context_length": TRAINED, "loaded_context_length": window}


def _json(document: Json, status: int = 200) -> Reply:
    return Reply(status, compact(document).encode(), "application/json; charset=utf-8")
