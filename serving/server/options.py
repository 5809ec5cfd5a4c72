"""What a server is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ServerOptions(BaseModel):
    """Loopback and no secrets by default; names as TensorFlow Serving's flags where it has them."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    host: str = "127.0.0.1"
    port: int = Field(8500, ge=0, le=65535, description="of gRPC; 0 picks a free one")
    rest_api_port: int = Field(8501, ge=0, le=65535, description="0 picks a free one")
    port_file: Path | None = Field(None, description="JSON with the ports, once they answer")

    model_name: str | None = None
    model_base_path: Path | None = Field(None, description="folder of the versions of model_name")
    model_config_file: Path | None = Field(None, description="instead: TensorFlow Serving's file")
    poll_seconds: float = Field(0.5, gt=0, description="between two looks at files and folders")

    batching: bool = True
    max_batch_rows: int = Field(1024, ge=1, description="candidates computed together")
    batch_threads: int = Field(2, ge=1, description="batches computed at the same time")
    batch_wait_us: int = Field(0, ge=0, description="how long a batch waits for company")
    queue: int = Field(64, ge=1, description="requests that are computed or wait; more are refused")
    max_request_bytes: int = Field(16 << 20, ge=1024)
    grace_seconds: float = Field(10.0, ge=0, description="for running requests, when it is stopped")

    token_env: str | None = Field(None, description="variable that holds the bearer token")
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    request_log: Path | None = Field(None, description="folder; predictions are logged there")
    request_log_rate: float = Field(1.0, ge=0, le=1, description="share of the requests")
    request_log_user: str = Field("user_id", description="feature that names the user")
    request_log_item: str = Field("item_id", description="feature that names a candidate")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _complete(self) -> ServerOptions:
        named = self.model_name is not None and self.model_base_path is not None
        if named == (self.model_config_file is not None):
            raise ValueError("give model_name and model_base_path, or model_config_file")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self
