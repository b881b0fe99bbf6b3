"""For each alert of deploy/prometheus/rules.yml: series of metrics that must fire it, in promtool's notation.

A series has one value per minute. `0+1x75` begins at 0 and rises by 1, 75 times; `5x75` stays at 5. Time
begins at 0, so an hour before is negative.
"""

Series = dict[str, str]
MINUTES = 75


def rising(name: str, step: float = 1) -> Series:
    return {name: f"0+{step:g}x{MINUTES}"}


def steady(name: str, value: float) -> Series:
    return {name: f"{value:g}x{MINUTES}"}


def slow(name: str, at_most: str) -> Series:
    """All observations of a histogram are above this bucket."""
    return (
        steady(f'{name}_bucket{{le="{at_most}"}}', 0)
        | rising(f'{name}_bucket{{le="10.0"}}', 60)
        | rising(f'{name}_bucket{{le="+Inf"}}', 60)
    )


def failing(share: float) -> Series:
    return rising('zipcast_http_requests_total{route="/r",result="ok"}', 1000) | rising(
        'zipcast_http_requests_total{route="/r",result="service_unavailable"}', 1000 * share
    )


LATENESS = "zipcast_epoch_publication_lateness_seconds"
FIRING: dict[str, Series] = {
    "EpochNotPublished": steady("zipcast_newest_published_epoch_start_timestamp_seconds", -14400),
    "EpochMissed": rising("zipcast_epochs_missed_total"),
    "EpochLate": rising(f"{LATENESS}_count") | steady(f'{LATENESS}_bucket{{le="1.0"}}', 0),
    "SchedulerStepsFail": rising("zipcast_scheduler_step_failures_total"),
    "ClockOffset": steady("zipcast_clock_offset_seconds", -0.2),
    "ZipcodeDataOld": steady("zipcast_zipcode_data_epochs_left", 41),
    "EpochUsesOldData": steady("zipcast_epoch_relaxed_age_days", 1),
    "HoneypotsKnown": steady("zipcast_honeypots_opened_ratio", 0.6),
    "ManifestsFail": rising("zipcast_sealing_failures_total"),
    "NoManifest": steady("zipcast_manifests_written_total", 7)
    | steady('process_start_time_seconds{job="responder"}', -21600),
    "UploadsUnreported": rising('zipcast_uploads_sealed_total{reported="no"}')
    | rising('zipcast_uploads_sealed_total{reported="yes"}'),
    "ChainUnread": steady("zipcast_registry_age_seconds", 901),
    "RegistryTooOld": steady("zipcast_registry_age_seconds", 86401),
    "RegistryEmpty": steady("zipcast_registry_neurons", 0),
    "EpochsUnproven": steady('zipcast_epochs_drawn_total{beacon="none"}', 1),
    "BeaconRelaysFail": rising("zipcast_beacon_relay_failures_total", 3),
    "AvailabilityBurnsFast": failing(0.02),
    "AvailabilityBurnsSlowly": failing(0.007),
    "InternalErrors": rising('zipcast_requests_total{result="internal_error"}'),
    "RequestsSlow": slow("zipcast_request_duration_seconds", "5.0"),
    "HttpSlow": slow("zipcast_http_request_duration_seconds", "5.0"),
    "ConnectingSlow": slow("zipcast_callout_duration_seconds", "5.0"),
    "ResponderUnanswered": rising("zipcast_responder_unanswered_total"),
    "ObjectStoreErrors": rising("zipcast_object_store_errors_total"),
    "DatabaseErrors": rising("zipcast_database_errors_total"),
    "DatabasePoolFull": steady('zipcast_database_connections_in_use{pool="main"}', 10)
    | steady('zipcast_database_connections_limit{pool="main"}', 10),
    "RepliesAimedElsewhere": rising("zipcast_hostile_replies_dropped_total"),
    "HotkeyBlocked": rising("zipcast_hotkeys_kept_out_total"),
    "ConnectionsLimited": rising("zipcast_callout_requests_limited_total", 60),
    "ConnectionsUnverifiable": rising("zipcast_callout_requests_malformed_total"),
    "ConnectionsUnlisted": rising("zipcast_connection_listings_failed_total"),
    "NobodyConnects": steady("zipcast_connections_granted_total", 3)
    | steady("zipcast_hotkey_connections", 0),
    "AdminCommand": rising("zipcast_admin_commands_total"),
    "ProcessDown": steady('up{job="bridge"}', 0),
    "ReplicaMissing": steady('up{job="responder"}', 1),
    "ProcessRestarts": rising("process_start_time_seconds", 60),
    "NatsDisconnected": steady("zipcast_nats_connected", 0),
    "NatsReconnects": rising("zipcast_nats_reconnects_total"),
    "RunningEpochUnknown": steady("zipcast_running_epoch_known", 0),
    "ErrorsLogged": rising('zipcast_log_lines_total{level="error"}'),
    "MemoryHigh": steady("process_resident_memory_bytes", 700e6),
    "FilesHigh": steady("process_open_fds", 900) | steady("process_max_fds", 1000),
    "NatsUnhealthy": steady("gnatsd_healthz_status_value", 0),
    "NatsSlowConsumers": rising("gnatsd_varz_slow_consumers", 2),
    "JetStreamFull": steady("jetstream_server_total_message_bytes", 90)
    | steady("jetstream_server_max_storage", 100),
    "NatsConnectionsHigh": steady("gnatsd_varz_connections", 9000),
}
