# A tagging server: models and ledger come as volumes, nothing else is written.
#   docker build -t movie-tagger . && docker compose up
FROM python:3.12-slim AS build
WORKDIR /src
COPY setup.py settings.ini pyproject.toml README.md LICENSE ./
COPY movie_tagger movie_tagger
# pip and the libraries' own tests stay out of the image
RUN python -m venv /opt/tagger && /opt/tagger/bin/pip install --no-cache-dir '.[serve]' \
 && /opt/tagger/bin/pip uninstall --yes pip \
 && find /opt/tagger -type d -name tests -prune -exec rm -rf {} +

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home tagger && install -d -o tagger /ledger /models
COPY --from=build /opt/tagger /opt/tagger
ENV PATH=/opt/tagger/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MOVIE_TAGGER_CACHE=/tmp/movie_tagger
USER 10001
VOLUME ["/models", "/ledger"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz/ready', timeout=2)"]
ENTRYPOINT ["movie-tagger"]
CMD ["serve", "/models", "--host", "0.0.0.0", "--ledger", "/ledger/ledger.db", "--keys", "/ledger/keys.json"]
