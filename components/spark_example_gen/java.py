from __future__ import annotations
import dataclasses, os, shutil
from pathlib import Path
class JavaNotFoundError(RuntimeError): pass
@dataclasses.dataclass(frozen=True)
class Java:
    home: Path
    version: int
    source: str
def find_java(minimum: int = 17) -> Java:
    j = shutil.which("java")
    return Java(Path(j).resolve().parent.parent, 17, "PATH")
