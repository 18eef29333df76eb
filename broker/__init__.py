"""Splitrail's control plane: typed messages, typed topics, the MQTT session and Mosquitto's configuration."""
