"""A small labelling project: images whose left half is dark, and a page for it."""

import cv2
import pytest
from label_page import CLASSES, FEW_TREES, halves

from layerscope.app.painter import Painter
from layerscope.app.project import Project


@pytest.fixture
def images(tmp_path):
    """Folder of three images; the last looks different."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, picture in (("a", halves(1)), ("b", halves(2)), ("c", halves(3, low=10, high=40))):
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    return folder


@pytest.fixture
def opening(tmp_path, images):
    """Open the project as often as a test wants; all are closed at the end."""
    opened = []

    def open_project(folder=tmp_path / "project", sources=(images,), **told):
        told = {"classes": CLASSES, "who": "anna", "now": lambda: "2026-01-01T00:00:00Z", **told}
        opened.append(Project.open(folder, sources, **told))
        return opened[-1]

    yield open_project
    for project in opened:
        project.close()


@pytest.fixture
def project(opening):
    """An open project."""
    return opening()


@pytest.fixture
def client(project):
    """Its page, as a browser would talk to it."""
    testclient = pytest.importorskip("fastapi.testclient")
    from layerscope.app.server import create_app

    app = create_app(Painter(project, FEW_TREES), hosts=("testserver",))
    with testclient.TestClient(app, headers={"x-layerscope": "1"}) as found:
        yield found
