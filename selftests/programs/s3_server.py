# SPDX-License-Identifier: GPL-2.0
"""moto's server with S3's interface, for remote_store.py: over TLS, and as strict as S3 where moto is not.

Usage: s3_server.py CERTIFICATE KEY     (and moto's variables)
"""

import sys
import warnings

from werkzeug.serving import run_simple

# It names a package that Debian's need not have.
warnings.simplefilter("ignore")
# pylint: disable=wrong-import-position
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app


def stricter(application):
    """S3 refuses a body whose length it is not told first. And to whoever asks with X-Half, the connection
    ends in the middle of the answer."""
    def answer(environ, start_response):
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", ""):
            start_response("501 Not Implemented", [("Content-Length", "0")])
            return []
        body = b"".join(application(environ, start_response))
        return [body[:len(body) // 2] if "HTTP_X_HALF" in environ else body]
    return answer


run_simple("0.0.0.0", 443, stricter(DomainDispatcherApplication(create_backend_app)), threaded=True,
           ssl_context=(sys.argv[1], sys.argv[2]))
