"""Submits a compiled pipeline to Kubeflow Pipelines: python -m kubeflow.submit --help"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from base.console import Failure
from base.errors import ComponentError
from kubeflow.local.steps import Pipeline, read_pipeline
from kubeflow.parameters import parse_pairs
from kubeflow.spec import quiet

TOKEN = "KFP_TOKEN"  # noqa: S105 - the name of a variable
_CRON_FIELDS = 6
_PAGE = 100


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--host", envvar="KFP_HOST", help="Address of Kubeflow Pipelines, or $KFP_HOST.")
@click.option("--namespace", help="Namespace of the runs, if Kubeflow has profiles.")
@click.option("--experiment", help="Experiment that lists the runs; default: the pipeline's name.")
@click.option(
    "--service-account", help="Account of the steps; kubeflow/manifests has pipeline-runner."
)
@click.option("--param", "given", multiple=True, metavar="NAME=VALUE", help="Pipeline parameter.")
@click.option(
    "--every",
    metavar="CRON",
    help='Schedule of six fields, seconds first ("0 5 * * * *" is five past each hour). It '
    "replaces the schedule of the same name; one run at a time.",
)
@click.option("--wait", is_flag=True, help="Wait for the run to end; exit status 1 if it failed.")
@click.option("--timeout", default=86_400, show_default=True, help="Seconds to --wait.")
def main(
    spec: Path,
    host: str | None,
    namespace: str | None,
    experiment: str | None,
    service_account: str | None,
    given: Sequence[str],
    every: str | None,
    wait: bool,
    timeout: int,
) -> None:
    """Runs SPEC, a pipeline that `python -m kubeflow.compile` wrote, on a cluster.

    If the cluster needs a token, set the environment variable KFP_TOKEN.
    """
    try:
        pipeline = read_pipeline(spec)
        arguments = pipeline.arguments(parse_pairs("--param", given))
        if host is None:
            raise ComponentError(
                "no address of Kubeflow Pipelines; give --host URL, or set the variable KFP_HOST"
            )
        if every is not None and len(every.split()) != _CRON_FIELDS:
            raise ComponentError(
                f'--every "{every}" has {len(every.split())} fields; it takes six, seconds first: '
                '"0 5 * * * *" is five past each hour'
            )
        cluster = Cluster(host, namespace, experiment or pipeline.name, service_account)
        if every is not None:
            click.echo(cluster.schedule(pipeline, spec, arguments, every))
            return
        run_id, link = cluster.run(pipeline, spec, arguments)
        click.echo(f"run {run_id}: {link}")
        if wait and not cluster.succeeds(run_id, timeout):
            raise SystemExit(1)
    except ComponentError as error:
        raise Failure(error) from None


class Cluster:
    """A cluster's Kubeflow Pipelines API.

    Each run gets the pipeline's root as an argument. Kubeflow does not read it from the pipeline
    (`driver`'s root_dag.go), and would put artifacts into its default bucket.

    Args:
      host: Address of the API.
      namespace: Namespace of the runs; None without profiles.
      experiment: Name of the experiment; it is created if missing.
      service_account: Account of the steps; None: the cluster's default.

    Raises:
      ComponentError: The API does not answer, or rejects the request.
    """

    def __init__(
        self, host: str, namespace: str | None, experiment: str, service_account: str | None
    ):
        self._host, self._namespace, self._account = host, namespace, service_account
        with _readable(host), quiet():
            import kfp

            self._client = kfp.Client(host=host, existing_token=os.environ.get(TOKEN))
            found = self._client.create_experiment(experiment, namespace=namespace)
            self._experiment = str(found.experiment_id)

    def run(self, pipeline: Pipeline, spec: Path, arguments: dict[str, Any]) -> tuple[str, str]:
        """Starts a run; returns its id and the address of its page."""
        with _readable(self._host), quiet():
            started = self._client.create_run_from_pipeline_package(
                str(spec),
                arguments=arguments,
                run_name=f"{pipeline.name} {dt.datetime.now(dt.timezone.utc):%Y-%m-%d %H:%M:%S}",
                experiment_id=self._experiment,
                namespace=self._namespace,
                pipeline_root=pipeline.root or None,
                service_account=self._account,
            )
        return str(started.run_id), f"{self._host.rstrip('/')}/#/runs/details/{started.run_id}"

    def schedule(self, pipeline: Pipeline, spec: Path, arguments: dict[str, Any], cron: str) -> str:
        """Schedules runs, and then deletes the older schedules of the same name."""
        name = pipeline.name
        with _readable(self._host), quiet():
            before = [*self._scheduled(name)]
            made = self._client.create_recurring_run(
                experiment_id=self._experiment,
                job_name=name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,  # the window of the next run covers the missed spans
                params=arguments,
                pipeline_package_path=str(spec),
                pipeline_root=pipeline.root or None,
                service_account=self._account,
            )
            for old in before:
                self._client.delete_recurring_run(old)
        instead = f", instead of {', '.join(before)}" if before else ""
        return f"recurring run {made.recurring_run_id} ({cron}){instead}"

    def _scheduled(self, name: str) -> Iterator[str]:
        page = ""
        while True:
            found = self._client.list_recurring_runs(
                page_token=page, page_size=_PAGE, experiment_id=self._experiment
            )
            for one in found.recurring_runs or []:
                if one.display_name == name:
                    yield str(one.recurring_run_id)
            page = found.next_page_token or ""
            if not page:
                return

    def succeeds(self, run_id: str, timeout: int) -> bool:
        """Waits for a run to end; returns whether it succeeded."""
        with _readable(self._host), quiet():
            ended = self._client.wait_for_run_completion(run_id, timeout)
        click.echo(f"run {run_id}: {str(ended.state).lower()}")
        if ended.error:
            click.echo(str(ended.error.message or ended.error), err=True)
        return str(ended.state) == "SUCCEEDED"


@contextmanager
def _readable(host: str) -> Iterator[None]:
    """Turns the client's exceptions into a ComponentError of one line."""
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        body = " ".join(str(error.body or error.reason or "").split())[:300]
        hint = f"; a token comes from {TOKEN}" if error.status in (401, 403) else ""
        raise ComponentError(f"{host} says {error.status}: {body}{hint}") from None
    except TimeoutError as error:
        raise ComponentError(f"the run has not ended yet: {error}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ComponentError(f"{host} does not answer as Kubeflow Pipelines: {reason}") from None


if __name__ == "__main__":
    main()
