"""What goes over the wire beside plain objects: protobuf in, discovery, Tables and OpenAPI out. Pure."""
