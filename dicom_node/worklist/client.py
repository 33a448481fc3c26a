"""UPS-RS as a user agent: search, retrieve, update, change state.

References
----------
PS3.18 11.5, 11.6, 11.7 and 11.9; PS3.4 CC.2.1 (Transaction UID as the lock).

"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import httpx
from pydicom.dataset import Dataset

from dicom_node.errors import WorklistError

__all__ = ["Answer", "WorklistClient"]

_JSON = "application/dicom+json"
_MOST_ITEMS = "50"


class Answer(Enum):
    """What the manager says to a change of a workitem."""

    DONE = "done"
    REFUSED = "refused"
    """Its state, or our Transaction UID, does not allow it (400, 409)."""
    GONE = "gone"
    """It is not there (any more) (404, 410)."""


class WorklistClient:
    """A worklist manager.

    Every method raises WorklistError when it cannot be asked or answers with what the
    standard does not say.

    Parameters
    ----------
    client : httpx.Client
        Relative to the service root.

    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def search(self, keys: Mapping[str, str]) -> tuple[Dataset, ...]:
        """Return the workitems that match, with their SOP Instance UIDs."""
        answer = self._ask(
            "GET", "workitems", params={**keys, "limit": _MOST_ITEMS}, accept=_JSON
        )
        if answer.status_code == httpx.codes.NO_CONTENT:
            return ()
        if answer.status_code not in {200, 206}:
            raise _unexpected(answer)
        return _data_sets(answer)

    def retrieve(self, workitem_uid: str) -> Dataset | None:
        """Return a workitem, or None where it is gone."""
        answer = self._ask("GET", f"workitems/{workitem_uid}", accept=_JSON)
        if answer.status_code in {404, 410}:
            return None
        if answer.status_code != httpx.codes.OK:
            raise _unexpected(answer)
        found = _data_sets(answer)
        if len(found) != 1:
            raise WorklistError("its answer is not one workitem")
        return found[0]

    def update(
        self, workitem_uid: str, changes: Dataset, *, transaction_uid: str
    ) -> Answer:
        """Change attributes of a workitem that is ours."""
        # The lock: PS3.18 11.6.1 puts it in the query, PS3.4 CC.2.6 in the data set.
        changes.TransactionUID = transaction_uid
        return self._change(
            "POST", f"workitems/{workitem_uid}?{transaction_uid}", changes
        )

    def change_state(
        self, workitem_uid: str, state: str, *, transaction_uid: str
    ) -> Answer:
        """Change the state of a workitem; IN PROGRESS claims it."""
        change = Dataset()
        change.ProcedureStepState = state
        change.TransactionUID = transaction_uid
        return self._change("PUT", f"workitems/{workitem_uid}/state", change)

    def _change(self, method: str, path: str, payload: Dataset) -> Answer:
        answer = self._ask(method, path, payload=payload)
        if answer.is_success:
            return Answer.DONE
        if answer.status_code in {404, 410}:
            return Answer.GONE
        if answer.status_code in {400, 409}:
            return Answer.REFUSED
        raise _unexpected(answer)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        payload: Dataset | None = None,
        accept: str = "*/*",
    ) -> httpx.Response:
        headers = {"Accept": accept}
        content = None
        if payload is not None:
            headers["Content-Type"] = _JSON
            content = payload.to_json()
        try:
            return self._client.request(
                method, path, params=params, headers=headers, content=content
            )
        except httpx.ConnectError as error:
            raise WorklistError("it cannot be reached") from error
        except httpx.TimeoutException as error:
            raise WorklistError("it did not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            msg = f"the connection failed ({type(error).__name__})"
            raise WorklistError(msg) from error


def _data_sets(answer: httpx.Response) -> tuple[Dataset, ...]:
    try:
        rows: Any = answer.json()
        # One workitem comes as an object or as a list with one.
        rows = rows if isinstance(rows, list) else [rows]
        return tuple(Dataset.from_json(one) for one in rows)
    except Exception as error:
        # Whatever is wrong with what it sent: its text may quote values.
        raise WorklistError("its answer is not DICOM JSON") from error


def _unexpected(answer: httpx.Response) -> WorklistError:
    return WorklistError(f"it answered with {answer.status_code}")
