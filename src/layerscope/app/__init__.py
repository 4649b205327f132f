"""The web pages in which a person paints and corrects.

    app = create_app(Painter(Project.open("project", ["images/"])))

`project` keeps everything that a person did, `painter` computes the answers, `pictures` the tiles
of images, `server` puts them on the web; the page itself is in `static/`.
"""
