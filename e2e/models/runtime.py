"""MLServer runtimes that serve a real scikit-learn model badly, each in one way.

`model-settings.json` names the class and holds its numbers under `parameters.extra`.
"""

import asyncio
import os
import random
import signal

from mlserver.errors import MLServerError
from mlserver_sklearn import SKLearnModel


class Flaky(SKLearnModel):
    """Answers a share of the requests with HTTP 500: the same ones in every run of the process."""

    async def load(self):
        extra = self.settings.parameters.extra
        self._share, self._dice = extra["share"], random.Random(extra["seed"])
        return await super().load()

    async def predict(self, payload):
        if self._dice.random() < self._share:
            raise MLServerError("the model failed", 500)
        return await super().predict(payload)


class Slow(SKLearnModel):
    """Answers late; requests do not wait for each other, so the rate that it can serve stays."""

    async def predict(self, payload):
        await asyncio.sleep(self.settings.parameters.extra["delaySeconds"])
        return await super().predict(payload)


class Crash(SKLearnModel):
    """Ends its process, with an error, soon after it has answered a number of requests."""

    async def load(self):
        self._left = self.settings.parameters.extra["requests"]
        return await super().load()

    async def predict(self, payload):
        response = await super().predict(payload)
        self._left -= 1
        if self._left == 0:
            # A moment later, so that the last answer still goes out.
            asyncio.get_running_loop().call_later(0.05, os._exit, 3)
        return response


class Never(SKLearnModel):
    """Loads for ever: the process lives and is never ready."""

    async def load(self):
        # MLServer ends only after its models have loaded; without this a stop lasts as long as the
        # pod's grace period.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
        await asyncio.Event().wait()
