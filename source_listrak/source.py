"""SourceListrak: spec, check, discover and read, built from the parts in one order."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache, partial
from typing import Any, TypeAlias

from airbyte_cdk import AbstractSource, AirbyteTracedException, Stream, models
from airbyte_cdk.utils.airbyte_secrets_utils import add_to_secrets

from source_listrak import inputs
from source_listrak.config import ListrakConfig
from source_listrak.errors import config_error
from source_listrak.soap import faults, throttle, wire
from source_listrak.soap.client import CHECK_POLICY, READ_POLICY, RetryPolicy, SoapClient
from source_listrak.soap.dates import DateReader
from source_listrak.soap.redaction import spellings
from source_listrak.soap.rows import Row
from source_listrak.streams import CLASSES
from source_listrak.streams.account import LOGIN
from source_listrak.streams.http import Context, SoapStream
from source_listrak.sync import output
from source_listrak.sync.engine import Engine
from source_listrak.sync.plan import ZONE_CHANGED, StreamPlan, make_plan
from source_listrak.sync.progress import StreamCounts, ZoneWatch, log_progress
from source_listrak.sync.reports import make_reports
from source_listrak.sync.state import load
from source_listrak.sync.windows import DAY, Window
from source_listrak.tables import TABLES

Config = Mapping[str, Any]
Catalog: TypeAlias = models.ConfiguredAirbyteCatalog
States = list[models.AirbyteStateMessage]

_NO_SUCH_LISTS = (
    "The configuration field 'list_ids' contains lists that the user cannot see: {}. Correct the "
    "IDs, or give the user access to these lists in Listrak."
)


def utc_now() -> datetime:
    """Return the present instant in UTC, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a caller may control besides the configuration: time, patience and the transport.

    :param now: returns the present instant in UTC
    :param state_interval: seconds between two states of a running stream
    :param check_patience: seconds that a check waits for a list before it also tries the next one
    :param transport: creates the transport, given the limits
    """

    now: Callable[[], datetime] = utc_now
    clock: throttle.Clock = field(default_factory=throttle.Clock)
    read_policy: RetryPolicy = READ_POLICY
    check_policy: RetryPolicy = CHECK_POLICY
    state_interval: float = 10.0
    check_patience: float = 3.0
    limits: wire.Limits = field(default_factory=wire.Limits)
    transport: Callable[[wire.Limits], wire.Transport] = wire.CurlTransport


class SourceListrak(AbstractSource):
    """Replicates a Listrak account through its SOAP API.

    :ivar settings: those given, by default those of a real sync
    :ivar breaker: what stops the read; None before one has begun
    """

    name = "source-listrak"

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.breaker: throttle.StopSwitch | None = None

    read_config = staticmethod(inputs.read_config)
    read_catalog = staticmethod(inputs.read_catalog)
    read_state = staticmethod(inputs.read_state)

    def spec(self, logger: logging.Logger) -> models.ConnectorSpecification:
        """Return the form of the configuration."""
        form = ListrakConfig.connection_specification()
        return models.ConnectorSpecification(connectionSpecification=form, supportsIncremental=True)

    def streams(self, config: Config) -> list[Stream]:
        """Return all tables; no request is made."""
        parsed = ListrakConfig.parse(config)
        return [SoapStream(table, parsed, DateReader(parsed.zone)) for table in TABLES.values()]

    def check_connection(self, logger: logging.Logger, config: Config) -> tuple[bool, Any]:
        """Prove the login, that lists are visible, and Analytics Access by the report of a list.

        Another list is tried when one fails, or does not answer for `Settings.check_patience`.

        :raises AirbyteTracedException: one of them is missing; rather than an error about a list
            that is gone, that of another list
        """
        parsed, now = ListrakConfig.parse(config), self.settings.now()
        parsed.since(now)
        ends = self.settings.clock.monotonic() + self.settings.check_policy.deadline
        context, lists = self.connect(parsed, self.settings.check_policy, logger)
        logger.info(f"The check found {len(lists):,} lists to replicate.")
        last_day = Window.of(now - DAY, now, parsed.zone)
        fetch = partial(context.fetch_report, TABLES["messages"], window=last_day)
        settings, pool = self.settings, ThreadPoolExecutor(parsed.num_workers)
        tried: list[Future[list[Row]]] = []
        for row in lists:
            tried.append(pool.submit(fetch, row["ListID"]))
            wait(tried[-1:], settings.check_patience)
            is_found = any(one.done() and one.exception() is None for one in tried)
            if is_found or settings.clock.monotonic() >= ends:
                break
        for one in as_completed(tried):
            if one.exception() is None:
                context.client.breaker.interrupt()  # no request that still waits is sent
                return True, None
        context.client.breaker.check()
        raise min(filter(None, (one.exception() for one in tried)), key=_is_gone)

    def check(self, logger: logging.Logger, config: Config) -> models.AirbyteConnectionStatus:
        """Return the outcome; the CDK's own version puts the message in quotation marks."""
        try:
            self.check_connection(logger, config)
        except AirbyteTracedException as error:
            return models.AirbyteConnectionStatus(models.Status.FAILED, error.message)
        return models.AirbyteConnectionStatus(models.Status.SUCCEEDED)

    def connect(
        self, config: ListrakConfig, policy: RetryPolicy, logger: logging.Logger
    ) -> tuple[Context, list[Row]]:
        """Log in by requesting the lists, on one thread: failed logins lock the account.

        :return: what further requests need, and the rows of the lists to replicate
        :raises AirbyteTracedException: the login failed, or no list to replicate is visible
        """
        # The CDK's filter replaces literally, so it needs every spelling of the password.
        for spelling in spellings(config.password):
            add_to_secrets(spelling)
        settings, dates = self.settings, DateReader(config.zone)
        stream_of = cache(lambda name: SoapStream(TABLES[name], config, dates))
        login = stream_of("lists")
        client = SoapClient(
            config.username,
            config.password,
            workers=config.num_workers,
            max_requests_per_second=config.max_requests_per_second,
            breaker=throttle.StopSwitch(settings.clock),
            policy=policy,
            transport=settings.transport(settings.limits),
            logger=logger,
            login=login.make_request(LOGIN),
            read_login=login.parse_response,
        )
        watch, counts = ZoneWatch(config.zone, settings.now), StreamCounts("shared requests")
        context = Context(config, client, stream_of, dates, watch, logger, settings.now, counts)
        rows = context.fetch(login, LOGIN, counts).rows
        return context, _chosen_lists(rows, config.list_ids, logger)

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
        states, now = inputs.states_by_stream(state or []), self.settings.now()
        since = parsed.since(now)
        context, lists = self.connect(parsed, self.settings.read_policy, logger)
        plans, remarks = {}, defaultdict[str, list[str]](list)
        for name, is_incremental in selected.items():
            before, remark = load(states.get(name, {}), name)
            plans[name], found = make_plan(before, parsed, now, incremental=is_incremental)
            for line in filter(None, [remark, *found]):
                remarks[line].append(name)
        for line, names in remarks.items():
            logger.info(f"{', '.join(names)}: {line}")
        if any(line.startswith(ZONE_CHANGED) for line in remarks):
            logger.warning(
                "The time zone was changed. Refresh the data of all streams with dates: until "
                "then, rows with the old dates remain, and with Append + Deduped, they win."
            )
        origin = "start_date" if parsed.start_date else "the default, one year before the sync"
        synced = [plans[name].before.synced_to for name, mode in selected.items() if mode]
        if synced and all(synced):
            since, origin = min(filter(None, synced)), "the last sync"
        logger.info(
            f"Reading {len(lists):,} lists since {since:%Y-%m-%d %H:%M} UTC ({origin}), with dates "
            f"in {parsed.time_zone} and at most {parsed.num_workers} requests at a time."
        )
        yield from self._read(context, lists, plans)

    def _read(
        self, context: Context, lists: list[Row], plans: Mapping[str, StreamPlan]
    ) -> Iterator[models.AirbyteMessage]:
        config, logger, breaker = context.config, context.logger, context.client.breaker
        list_ids = sorted(row["ListID"] for row in lists)
        reports = make_reports(config, plans, list_ids, context.fetch_report)
        for report in reports.values():
            breaker.on_trip(report.release)
        engine = Engine(config.num_workers, breaker, logger, self.settings.state_interval)
        streams = []
        for name, plan in plans.items():
            table = TABLES[name]
            counts = StreamCounts(name, partial(engine.emit_rate_limited, name))
            streams.append(CLASSES[table.sliced_by](table, context, plan, counts, lists, reports))
        self.breaker = breaker
        known = [plan.before for plan in plans.values()]
        ages = [one.synced_to - one.newest for one in known if one.synced_to and one.newest]
        context.counts.is_running = True
        with log_progress([*(stream.counts for stream in streams), context.counts], logger):
            try:
                yield from engine.read(streams)
            finally:
                if warning := context.watch.warning(min(ages, default=None)):
                    logger.warning(warning)

    def interrupt(self) -> None:
        """Stop a running read from outside: no more requests, and the state as of now."""
        if self.breaker is not None:
            self.breaker.interrupt()


def _is_gone(error: BaseException) -> bool:
    return isinstance(error, faults.ListrakError) and error.fault is faults.REPORT_GONE


def _chosen_lists(
    rows: list[Row], list_ids: Sequence[int] | None, logger: logging.Logger
) -> list[Row]:
    """Return the rows of the lists to replicate, each once.

    :raises AirbyteTracedException: there is none
    """
    visible = {row["ListID"]: row for row in rows}
    if not visible:
        raise config_error(
            "The Listrak user cannot see any list, so there is nothing to replicate. Assign lists "
            "to it in Listrak under Manage > Accounts > User Manager."
        )
    chosen = visible.keys() if list_ids is None else visible.keys() & set(list_ids)
    missing = sorted(set(list_ids or ()) - chosen)
    problem = _NO_SUCH_LISTS.format(", ".join(map(str, missing)))
    if not chosen:
        raise config_error(problem)
    if missing:
        logger.warning(f"{problem} The other lists are read.")
    return [row for list_id, row in visible.items() if list_id in chosen]
