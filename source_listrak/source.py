"""SourceListrak: spec, check, discover and read, wired from the parts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from airbyte_cdk.models import (
    AirbyteConnectionStatus,
    AirbyteMessage,
    AirbyteStateMessage,
    ConfiguredAirbyteCatalog,
    ConnectorSpecification,
    FailureType,
    Status,
    SyncMode,
)
from airbyte_cdk.sources import AbstractSource
from airbyte_cdk.sources.concurrent_source.concurrent_source import ConcurrentSource
from airbyte_cdk.sources.connector_state_manager import ConnectorStateManager
from airbyte_cdk.sources.message import MessageRepository
from airbyte_cdk.sources.streams import Stream
from airbyte_cdk.utils.airbyte_secrets_utils import add_to_secrets
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.config import ListrakConfig, config_error
from source_listrak.cursor import FutureStateVersion
from source_listrak.handover import (
    MOST_PAGES,
    MOST_RECORDS,
    HandoverQueue,
    HandoverRepository,
)
from source_listrak.plan import make_plan
from source_listrak.progress import Reporter
from source_listrak.slicing import message_windows
from source_listrak.streams import STREAMS, ListrakStream

if TYPE_CHECKING:
    from source_listrak.soap.transport import RetryPolicy
    from source_listrak.streams.concurrent import StateCursor
    from source_listrak.sync import Sync

DOCUMENTATION_URL = "https://docs.airbyte.com/integrations/sources/listrak"


class SyncFailed(AirbyteTracedException):
    """Streams failed; each has told why in a trace of its own."""


class SourceListrak(AbstractSource):
    """Replicates a Listrak account through its SOAP API."""

    name = "source-listrak"

    def __init__(self, *, pages: bool = False) -> None:
        """Prepare one run.

        :param pages: whether `read` gives pages of records (`pages.page_of`) instead of records
        """
        self._pages = pages
        # One queue for records, states and logs: on two, states overtake the records they count.
        self._queue = HandoverQueue(MOST_PAGES if pages else MOST_RECORDS)
        self._repository = HandoverRepository(self._queue)
        self._running: Sync | None = None
        self._cursors: list[StateCursor] = []

    @property
    def message_repository(self) -> MessageRepository:
        """Where messages go that are neither records nor states of a stream."""
        return self._repository

    def spec(self, logger: logging.Logger) -> ConnectorSpecification:
        """Return the form of the configuration."""
        return ConnectorSpecification(
            documentationUrl=DOCUMENTATION_URL,
            connectionSpecification=ListrakConfig.connection_specification(),
            supportsIncremental=True,
        )

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        """Return the nine tables; no request is made."""
        parsed = ListrakConfig.parse(config)
        return [stream(parsed) for stream in STREAMS]

    def check_connection(
        self, logger: logging.Logger, config: Mapping[str, Any]
    ) -> tuple[bool, Any]:
        """Prove the login by one request, and that the configured lists are visible."""
        from source_listrak.soap.transport import CHECK_POLICY

        try:
            parsed = self._parse(config)
            parsed.since(_now())
            self.log_in(self._sync(parsed, CHECK_POLICY, logger), parsed)
        except AirbyteTracedException as error:
            return False, error.message
        return True, None

    def check(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteConnectionStatus:
        """Return the outcome of the check, in a sentence without quotation marks around it."""
        succeeded, message = self.check_connection(logger, config)
        if succeeded:
            return AirbyteConnectionStatus(status=Status.SUCCEEDED)
        return AirbyteConnectionStatus(status=Status.FAILED, message=message)

    def read(
        self,
        logger: logging.Logger,
        config: Mapping[str, Any],
        catalog: ConfiguredAirbyteCatalog,
        state: list[AirbyteStateMessage] | None = None,
    ) -> Iterator[AirbyteMessage]:
        """Read the selected tables concurrently, after one login on this thread.

        :raises AirbyteTracedException: nothing could be read (configuration, login, state)
        :raises SyncFailed: some streams ended incomplete
        """
        from source_listrak.soap.transport import READ_POLICY

        parsed = self._parse(config)
        now = _now()
        known = {stream.name: stream for stream in STREAMS}
        unknown = [item.stream.name for item in catalog.streams if item.stream.name not in known]
        if unknown:
            raise config_error(
                f"The catalog names streams that this source does not have: {', '.join(unknown)}. "
                "Refresh the schema of the connection."
            )
        sync = self._sync(parsed, READ_POLICY, logger)
        states = ConnectorStateManager(state=state)
        streams: list[ListrakStream] = []
        for item in catalog.streams:
            stream = known[item.stream.name](parsed, sync)
            incremental = item.sync_mode == SyncMode.incremental
            try:
                stream.plan, remarks = make_plan(
                    states.get_stream_state(stream.name, None), parsed, now, incremental=incremental
                )
            except FutureStateVersion as error:
                raise config_error(
                    f"The state of {stream.name} was written by a later version of this connector "
                    f"(format {error}): upgrade the connector, or reset the stream."
                ) from None
            for remark in remarks:
                logger.info(f"{stream.name}: {remark}")
            streams.append(stream)
        if not streams:
            return
        self.log_in(sync, parsed)
        self._prepare_account(sync, streams)
        yield from self._read_concurrently(sync, streams, logger)

    def interrupt(self) -> None:
        """Stop a running read from outside: no more requests, and the state as of now."""
        if self._running is not None:
            self._running.breaker.interrupt()
            for cursor in self._cursors:
                cursor.emit_state()

    def _parse(self, config: Mapping[str, Any]) -> ListrakConfig:
        from source_listrak.soap.transport import secret_forms

        parsed = ListrakConfig.parse(config)
        # The CDK's filter replaces literally, so it has to know every spelling of the password.
        for form in secret_forms(parsed.password):
            add_to_secrets(form)
        return parsed

    def _sync(self, config: ListrakConfig, policy: RetryPolicy, logger: logging.Logger) -> Sync:
        # Imported here since it imports lxml and libcurl, which `spec` and `discover` do not need.
        from source_listrak.sync import Sync

        declarations = {stream.name: stream for stream in STREAMS}
        return Sync(
            config,
            declarations,
            policy,
            self._queue,
            self._repository,
            logger,
            pages=self._pages,
        )

    @staticmethod
    def log_in(sync: Sync, config: ListrakConfig) -> None:
        """Ask for the lists, on one thread: failed logins lock the account.

        :raises AirbyteTracedException: the login failed, or configured lists are not visible
        """
        sync.account.lists()
        if config.list_ids:
            sync.account.selected = frozenset(config.list_ids)
            missing = sync.account.selected.difference(sync.account.list_ids())
            if missing:
                raise config_error(
                    "The configuration field 'list_ids' names lists that the user does not see: "
                    f"{', '.join(map(str, sorted(missing)))}. Correct the ids, or give the user "
                    "these lists in Listrak."
                )

    def _prepare_account(self, sync: Sync, streams: list[ListrakStream]) -> None:
        """Decide which windows of messages the selected streams need together."""
        readers = [stream for stream in streams if stream.reads_messages]
        if not readers:
            return
        since = min(stream.messages_since(stream.plan, stream.list_ids()) for stream in readers)
        end = max(stream.plan.window_end for stream in readers)
        sync.account.windows = message_windows(since, end, sync.zone)
        sync.reads_bounces = any(stream.name == "message_bounces" for stream in readers)
        for stream in readers:
            stream.prepare()

    def _read_concurrently(
        self, sync: Sync, streams: list[ListrakStream], logger: logging.Logger
    ) -> Iterator[AirbyteMessage]:
        # Generators wait for their turn on threads of the pool, so they come on top of the
        # workers; how many requests are in flight is the client's to bound.
        generators = len(streams)
        logger = logger.getChild("concurrent")
        if self._pages:
            # The CDK would count a page as one record; the summary counts records.
            logger.addFilter(lambda record: not record.getMessage().startswith("Read "))
        source = ConcurrentSource.create(
            num_workers=sync.config.num_workers + generators,
            initial_number_of_partitions_to_generate=generators,
            logger=logger,
            slice_logger=self._slice_logger,
            message_repository=self._repository,
            queue=cast("Any", self._queue),
        )
        underlying = [stream.get_underlying_stream() for stream in streams]
        self._cursors = [cast("StateCursor", stream.cursor) for stream in underlying]
        self._running = sync
        counts = {stream.name: stream.progress for stream in streams}
        counts["lists and messages, shared"] = sync.parents
        sync.parents.began()
        try:
            with Reporter(counts, logger):
                yield from source.read(cast("Any", underlying))
        except GeneratorExit:
            # Whoever read stopped reading: no thread may wait for it for ever.
            sync.breaker.interrupt()
            self._queue.abandon()
            for cursor in self._cursors:
                cursor.outstanding.abandon()
            raise
        except AirbyteTracedException as error:
            if error.internal_message != "Concurrent read failure":
                raise
            raise self._failed(sync, streams) from None
        finally:
            self._running = None
            # Whatever ended the sync, no worker may go on asking.
            sync.breaker.interrupt()

    @staticmethod
    def _failed(sync: Sync, streams: list[ListrakStream]) -> SyncFailed:
        """Return the end of a failed sync; the CDK's own calls everything a config error."""
        failed = [stream.name for stream in streams if stream.progress.failed]
        stopped = sync.breaker.error
        return SyncFailed(
            message=f"These streams did not sync completely: {', '.join(failed)}. "
            "Each has told why in an error of its own.",
            internal_message="Concurrent read failure",
            failure_type=stopped.failure_type if stopped else FailureType.transient_error,
        )


def _now() -> datetime:
    """Return the start of this sync: the instant in UTC, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)
