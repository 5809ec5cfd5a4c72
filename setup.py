"""The distribution `spark-tfx-pipeline`.

The ranges hold for both supported TFX lines; requirements/ has the complete lock of each, which
`make setup` installs. Tool settings are in pyproject.toml. The version is stated here alone, and
CHANGELOG.md has a section for it.
"""

from pathlib import Path

from setuptools import find_packages, setup

NOT_INSTALLED = ("tests", "benchmarks")
README = Path(__file__).parent / "README.md"

setup(
    name="spark-tfx-pipeline",
    version="0.1.0",
    description="A production TFX pipeline whose ExampleGen is Apache Spark",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(exclude=[*NOT_INSTALLED, *(f"{name}.*" for name in NOT_INSTALLED)]),
    py_modules=["local_runner"],
    package_data={
        "": ["*.yaml", "*.j2", "*.css", "*.js", "configs/*.yaml"],
        "kubeflow": ["manifests/base/serving/probe.sh"],
    },
    install_requires=[
        "tfx>=1.16,<1.22",
        "tensorflow-serving-api>=2.16,<2.22",
        "pyspark>=3.5,<4.2",
        "spark-tensorflow-distributor>=1.0,<2",
        "kfp>=2.5,<3",
        # Undeclared by those who need them: Beam's pickler, and pkg_resources of tensorflow_hub.
        "dill>=0.3.1",
        "setuptools<81",
        "pip",
        "click>=8",
        "confluent-kafka>=2.4",
        "google-crc32c>=1.5",
        "isal>=1.6",
        "jinja2>=3",
        "matplotlib>=3.8",
        "openlineage-python>=1.20",
        "plotly>=6",
        "psutil>=5.9",
        "pydantic>=2",
        "pyyaml>=6",
        "rich>=13",
        "zstandard>=0.22",
    ],
    extras_require={
        "dev": [
            "hypothesis",
            "import-linter",
            "mypy",
            "pandas-stubs",
            "pre-commit",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "types-protobuf",
            "types-psutil",
            "types-PyYAML",
        ],
    },
)
