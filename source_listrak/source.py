"""SourceListrak: spec, check, discover and read, built from the parts in one order."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, TypeAlias

import airbyte_cdk as cdk
from airbyte_cdk import AirbyteTracedException, models
from airbyte_cdk.sources.streams.concurrent.default_stream import DefaultStream
from airbyte_cdk.sources.utils.slice_logger import DebugSliceLogger
from airbyte_cdk.utils.airbyte_secrets_utils import add_to_secrets

from source_listrak import inputs
from source_listrak.config import ListrakConfig
from source_listrak.errors import config_error
from source_listrak.soap.client import CHECK_POLICY, READ_POLICY, RetryPolicy, SoapClient
from source_listrak.soap.dates import DateReader
from source_listrak.soap.redaction import spellings
from source_listrak.soap.throttle import Clock, StopSwitch
from source_listrak.soap.wire import CurlTransport, Limits, Transport
from source_listrak.streams import CLASSES, Context, ListrakStream, LoginStream, ReportStream
from source_listrak.sync import output
from source_listrak.sync.engine import Engine, SliceCursor
from source_listrak.sync.plan import StreamPlan, make_plan
from source_listrak.sync.progress import StreamCounts, ZoneWatch, log_progress
from source_listrak.sync.reader import Rows
from source_listrak.sync.reports import SharedReport
from source_listrak.sync.state import load
from source_listrak.sync.windows import Window, merge, wall_end
from source_listrak.tables import COUNTERS, TABLES, Table

Config = Mapping[str, Any]
Catalog: TypeAlias = models.ConfiguredAirbyteCatalog
States = list[models.AirbyteStateMessage]

_SHARED = "lists and reports, shared"
_NO_LISTS = (
    "The Listrak user cannot see any list, so there is nothing to replicate. Assign lists to it in "
    "Listrak under Manage > Accounts > User Manager."
)


def utc_now() -> datetime:
    """Return the present instant in UTC, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a caller may control beside the configuration: time, patience and the transport.

    :param now: returns the present instant in UTC
    :param state_interval: seconds between two states of a running stream
    :param transport: makes what sends the requests, within the limits
    """

    now: Callable[[], datetime] = utc_now
    clock: Clock = field(default_factory=Clock)
    read_policy: RetryPolicy = READ_POLICY
    check_policy: RetryPolicy = CHECK_POLICY
    state_interval: float = 10.0
    limits: Limits = field(default_factory=Limits)
    transport: Callable[[Limits], Transport] = CurlTransport


class SyncFailed(AirbyteTracedException):
    """Streams failed; the error of each was emitted."""


class SourceListrak(cdk.AbstractSource):
    """Replicates a Listrak account through its SOAP API."""

    name = "source-listrak"

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._breaker: StopSwitch | None = None

    read_config = staticmethod(inputs.read_config)
    read_catalog = staticmethod(inputs.read_catalog)
    read_state = staticmethod(inputs.read_state)

    def spec(self, logger: logging.Logger) -> models.ConnectorSpecification:
        """Return the form of the configuration."""
        return models.ConnectorSpecification(
            connectionSpecification=ListrakConfig.connection_specification(),
            supportsIncremental=True,
        )

    def streams(self, config: Config) -> list[cdk.Stream]:
        """Return all tables; no request is made."""
        parsed = ListrakConfig.parse(config)
        context = self._context(parsed, READ_POLICY, logging.getLogger("airbyte"))
        return [CLASSES[table.sliced_by](table, parsed, context) for table in TABLES.values()]

    def check_connection(self, logger: logging.Logger, config: Config) -> tuple[bool, Any]:
        """Prove the login, that lists are visible, and Analytics Access by one report.

        :raises AirbyteTracedException: one of them is missing
        """
        parsed = ListrakConfig.parse(config)
        context = self.connect(parsed, self._settings.check_policy, logger)
        end = wall_end(context.now(), parsed.zone)
        day = Window(end - timedelta(days=1), end)
        messages = ReportStream(TABLES["messages"], parsed, context)
        messages.fetch_report(context.lists[0]["ListID"], day)
        return True, None

    def check(self, logger: logging.Logger, config: Config) -> models.AirbyteConnectionStatus:
        """Return the outcome of the check, in a sentence without quotation marks around it."""
        try:
            self.check_connection(logger, config)
        except AirbyteTracedException as error:
            return models.AirbyteConnectionStatus(models.Status.FAILED, error.message)
        return models.AirbyteConnectionStatus(models.Status.SUCCEEDED)

    def connect(
        self, config: ListrakConfig, policy: RetryPolicy, logger: logging.Logger
    ) -> Context:
        """Log in by requesting the lists, on one thread: failed logins lock the account.

        :raises AirbyteTracedException: the start date is in the future, the login failed, no list
            is visible, or a configured one is not
        """
        config.since(self._settings.now())
        context = self._context(config, policy, logger)
        lists = LoginStream(TABLES["lists"], config, context).log_in()
        return replace(context, lists=_chosen_lists(lists, config.list_ids))

    def _context(
        self, config: ListrakConfig, policy: RetryPolicy, logger: logging.Logger
    ) -> Context:
        # The CDK's filter replaces literally, so it needs every spelling of the password.
        for spelling in spellings(config.password):
            add_to_secrets(spelling)
        settings = self._settings

        def log_in(client: SoapClient) -> Rows:
            with_client = replace(context, client=client)
            return LoginStream(TABLES["lists"], config, with_client).log_in()

        client = SoapClient(
            config.username,
            config.password,
            workers=config.num_workers,
            max_requests_per_second=config.max_requests_per_second,
            breaker=StopSwitch(settings.clock),
            policy=policy,
            transport=settings.transport(settings.limits),
            logger=logger,
            login=log_in,
        )
        dates, watch = DateReader(config.zone), ZoneWatch(config.zone, settings.now)
        context = Context(client, dates, watch, logger, settings.now, StreamCounts(_SHARED))
        return context

    def read(
        self, logger: logging.Logger, config: Config, catalog: Catalog, state: States | None = None
    ) -> Iterator[models.AirbyteMessage]:
        """Yield the messages of a sync, record by record; see `read_batches`."""
        for message in self.read_batches(logger, config, catalog, state):
            batch = output.batch_of(message)
            yield from batch.messages() if batch else [message]

    def read_batches(
        self, logger: logging.Logger, config: Config, catalog: Catalog, state: States | None = None
    ) -> Iterator[models.AirbyteMessage]:
        """Yield the messages of a sync, with records in batches (`output.batch_of`).

        :raises AirbyteTracedException: nothing could be read (configuration, login, state)
        :raises SyncFailed: some streams ended incomplete
        """
        parsed = ListrakConfig.parse(config)
        selected = inputs.selected_tables(catalog)
        if not selected:
            return
        states, now = inputs.states_by_stream(state or []), self._settings.now()
        context = self.connect(parsed, self._settings.read_policy, logger)
        plans = {}
        for name, is_incremental in selected.items():
            before, remark = load(states.get(name, {}), name)
            plans[name], remarks = make_plan(before, parsed, now, incremental=is_incremental)
            for line in filter(None, [remark, *remarks]):
                logger.info(f"{name}: {line}")
        _log_start(logger, parsed, len(context.lists), now)
        context = replace(context, reports=_make_reports(parsed, context, plans))
        breaker, interval = context.client.breaker, self._settings.state_interval
        engine = Engine(parsed.num_workers, breaker, logger, interval)
        streams = []
        for name, plan in plans.items():
            counts = StreamCounts(name, partial(_emit_rate_limited, engine, name))
            its_own = replace(context, counts=counts)
            streams.append(CLASSES[TABLES[name].sliced_by](TABLES[name], parsed, its_own, plan))
        self._breaker = breaker
        known = [plan.before for plan in plans.values()]
        ages = [one.synced_to - one.newest for one in known if one.synced_to and one.newest]
        context.counts.began()
        try:
            with log_progress([*(stream.counts for stream in streams), context.counts], logger):
                yield from _run(streams, engine)
        finally:
            if warning := context.watch.warning(min(ages, default=None)):
                logger.warning(warning)

    @property
    def is_reading(self) -> bool:
        """Whether a sync has begun, so that it can be interrupted."""
        return self._breaker is not None

    def interrupt(self) -> None:
        """Stop a running read from outside: no more requests, and the state as of now."""
        if self._breaker is not None:
            self._breaker.interrupt()


def _run(streams: Sequence[ListrakStream], engine: Engine) -> Iterator[models.AirbyteMessage]:
    cursors = [SliceCursor(stream, engine) for stream in streams]
    # The CDK logs less than the summary, counts a batch as one record, and logs errors twice.
    logger = engine.logger.getChild("concurrent")
    logger.setLevel(logging.CRITICAL)
    # Generators wait for their turn on threads of the pool, so they come on top of the workers;
    # how many requests are in flight is the client's to limit.
    source = cdk.ConcurrentSource.create(
        num_workers=engine.workers + len(streams),
        initial_number_of_partitions_to_generate=len(streams),
        logger=logger,
        slice_logger=DebugSliceLogger(),
        message_repository=engine.repository,
        queue=engine.messages,
    )
    incomplete: list[str] = []
    underlying: Any = list(map(_as_concurrent, streams, cursors))
    try:
        for message in source.read(underlying):
            status = message.trace.stream_status if message.trace else None
            if status is not None and status.status == models.AirbyteStreamStatus.INCOMPLETE:
                incomplete.append(status.stream_descriptor.name)
            yield message
    except AirbyteTracedException as error:
        if not incomplete:
            raise
        stopped = engine.breaker.error
        raise SyncFailed(
            message=f"These streams did not sync completely: {', '.join(incomplete)}. See the "
            "error reported for each stream.",
            internal_message=error.internal_message,
            failure_type=stopped.failure_type if stopped else models.FailureType.transient_error,
        ) from None
    finally:
        # Whatever ended the sync, no worker may send another request, and no thread may wait for
        # a reader that is gone.
        output.release(engine.messages)
        engine.breaker.interrupt()
        for cursor in cursors:
            cursor.slots.stop(abandon=True)


def _chosen_lists(
    rows: list[dict[str, Any]], list_ids: Sequence[int] | None
) -> list[dict[str, Any]]:
    """Return the rows of the lists to replicate.

    :raises AirbyteTracedException: there is none, or a configured list is not visible
    """
    visible = [row for row in rows if "ListID" in row]
    if not visible:
        raise config_error(_NO_LISTS)
    if list_ids is None:
        return visible
    missing = set(list_ids) - {row["ListID"] for row in visible}
    if missing:
        raise config_error(
            "The configuration field 'list_ids' contains lists that the user cannot see: "
            f"{', '.join(map(str, sorted(missing)))}. Correct the IDs, or give the user access to "
            "these lists in Listrak."
        )
    return [row for row in visible if row["ListID"] in set(list_ids)]


def _make_reports(
    config: ListrakConfig, context: Context, plans: Mapping[str, StreamPlan]
) -> dict[str, SharedReport]:
    """Return the shared reports that the selected tables need."""
    # Never shut down, since the threads of a stopped sync may still submit; the breaker then
    # ends every request at once.
    executor = ThreadPoolExecutor(config.num_workers, thread_name_prefix="parents")
    all_lists = sorted(row["ListID"] for row in context.lists)
    readers: defaultdict[str, list[Table]] = defaultdict(list)
    for name in plans:
        for report in _reports_of(TABLES[name], config):
            readers[report].append(TABLES[name])
    reports = {}
    for name, tables in readers.items():
        table, plan = TABLES[name], plans.get(name)
        reports[name] = SharedReport(
            ReportStream(table, config, context).fetch_report,
            partial(_windows, table, [(one, plans[one.name]) for one in tables]),
            all_lists,
            kept=set(plan.lists_to_read(plan.list_ids(all_lists))) if plan else set(),
            columns=(table.key[-1], table.cursor or "", *COUNTERS[name]),
            ahead=config.num_workers,
            executor=executor,
            on_complete=partial(_log_found, context.logger, name, tables),
        )
        context.client.breaker.on_trip(reports[name].release)
    return reports


def _windows(
    report: Table, readers: Iterable[tuple[Table, StreamPlan]], list_id: int
) -> Sequence[Window | None]:
    """Return the windows of a list in which a report is needed; None: the whole report."""
    needed = [
        cohort.span
        for table, plan in readers
        for one in plan.lists_to_read(plan.list_ids([list_id]))
        for cohort in plan.due_cohorts(one, table)
    ]
    return merge(needed) if report.ranged else [None][: len(needed)]


def _reports_of(table: Table, config: ListrakConfig) -> list[str]:
    """Return the reports that a table is read from or sliced by."""
    if table.sliced_by == "report":
        return [table.name]
    if table.sliced_by == "batch":
        return ["messages"]
    if table.sliced_by not in ("message", "conversation"):
        return []
    named, others = f"{table.sliced_by}s", f"{table.sliced_by}_deliveries"
    needs_others = table.counter in COUNTERS[others] and table.counter not in COUNTERS[named]
    return [named, others] if needs_others and config.skip_inactive_messages else [named]


def _log_found(
    logger: logging.Logger, report: str, tables: Sequence[Table], tally: Mapping[str, int]
) -> None:
    """Log how much there is to read of what a report names."""
    children = [table for table in tables if table.sliced_by == report.removesuffix("s")]
    if children and tally["all"]:
        # Two for each: a page of rows, and the empty page that ends them.
        requests = 2 * sum(tally.get(table.counter or "", tally["all"]) for table in children)
        logger.info(
            f"Found {tally['all']:,} {report}; reading them takes about {requests:,} requests."
        )


def _as_concurrent(stream: ListrakStream, cursor: SliceCursor) -> DefaultStream:
    """Return a table as the CDK's concurrent source reads it."""
    schema, key, column = stream.get_json_schema, stream.primary_key, stream.table.cursor
    field = cdk.CursorField(column) if column else None
    return DefaultStream(cursor, stream.name, schema, key, field, stream.logger, cursor)


def _emit_rate_limited(engine: Engine, stream: str, seconds: float) -> None:
    engine.messages.put(output.rate_limited(stream))


def _log_start(logger: logging.Logger, config: ListrakConfig, lists: int, now: datetime) -> None:
    origin = "start_date" if config.start_date else "the default, one year before the sync"
    logger.info(
        f"Reading {lists:,} lists since {config.since(now):%Y-%m-%d %H:%M} UTC ({origin}), with "
        f"dates in {config.time_zone} and at most {config.num_workers} requests at a time."
    )
