"""A browser without a window, for the tests of the page and for its rows of `make bench`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
except ImportError:  # a development requirement
    webdriver = None

PROGRAMS = ("chromium", "chromedriver")
# Without a sandbox, since continuous integration is root in a container; the pages are our own.
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


def missing() -> str:
    """Why there is no browser; empty where there is one."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if webdriver is None:
        absent.append("the package selenium")
    return f"no {' and no '.join(absent)}: apt install chromium chromium-driver, and `make test`" if absent else ""


@contextmanager
def browser() -> Iterator["webdriver.Chrome"]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver, path: Path, hash_: str = "", width: int = 1400, dark: bool = False) -> None:
    """Open a page anew, and wait until its atlas is drawn."""
    screen = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
    driver.get("about:blank")
    driver.get(path.as_uri() + hash_)
    driver.set_script_timeout(30)
    driver.execute_async_script(
        """const done = arguments[0];
        (function wait() { document.querySelector("#atlas.ready") ? done() : setTimeout(wait, 5); })();"""
    )
