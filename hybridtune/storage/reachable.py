"""Whether a provider of object storage can be reached at all, before its client asks for a minute."""

import functools
import os
import socket
from urllib.parse import parse_qs, urlsplit

from hybridtune.errors import InputError

_HOSTS = {"s3": "s3.us-east-1.amazonaws.com", "gs": "storage.googleapis.com", "gcs": "storage.googleapis.com"}
_OWN_PLACE = {"region", "endpoint_override"}  # of a URL: the client asks there
# With these the name may be known elsewhere: by a proxy, or of a server of one's own.
_ELSEWHERE = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_EMULATOR = "CLOUD_STORAGE_EMULATOR_ENDPOINT"


def check_reachable(location: str) -> None:
    """Check that the name of the provider's server is known here, where a URL says no server of its own.

    Raises:
        InputError: it is not, as on a machine without a network. Amazon's client would say so after 6 seconds,
            Google's after 30.

    Example:
        >>> check_reachable("hdfs://namenode/pairs")  # a server of one's own
    """
    url = urlsplit(location)
    host = _HOSTS.get(url.scheme)
    if host is None or _OWN_PLACE & parse_qs(url.query).keys() or any(map(os.environ.get, (*_ELSEWHERE, _EMULATOR))):
        return
    try:
        _look_up(host)
    except socket.gaierror as error:
        raise InputError(
            f"{location}: cannot be reached: {host}: {str(error.strerror).lower()}; check the network"
        ) from None


@functools.lru_cache
def _look_up(host: str) -> None:
    """Look a name up, once a process where it is known: every file of a bucket is opened by its own URL."""
    socket.getaddrinfo(host, 443)
