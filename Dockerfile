# The whole pipeline on the embedded default, in a fresh machine:
#   docker build -t fewshot .
#   docker run --rm -v "$PWD/out:/project/results" fewshot
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /project
COPY . .
RUN make install && rm -rf /root/.cache/pip
CMD ["make", "repro"]
