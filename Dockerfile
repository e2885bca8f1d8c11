# hybridtune in a container, for GPUs and CPUs; docs/docker.md has the commands, and how to leave CUDA out.
FROM python:3.11-slim-bookworm AS build
# The address of a package index with another build of torch, as PyTorch's page on installing names it.
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/hybridtune
ENV PATH=/opt/hybridtune/bin:$PATH
WORKDIR /source
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} torch
COPY LICENSE MANIFEST.in README.md pyproject.toml setup.py ./
COPY clusters clusters
COPY search_spaces search_spaces
COPY hybridtune hybridtune
RUN pip install -c constraints.txt ".[dashboard,datasets,lora,onnx,samplers]"

FROM python:3.11-slim-bookworm
# Of the user on the host, whose folder with the study is mounted.
ARG UID=1000
RUN useradd --create-home --uid "$UID" hybridtune \
 && install --directory --owner hybridtune /work /home/hybridtune/.cache
COPY --from=build /opt/hybridtune /opt/hybridtune
ENV PATH=/opt/hybridtune/bin:$PATH
USER hybridtune
WORKDIR /work
ENTRYPOINT ["hybridtune"]
CMD ["--help"]
