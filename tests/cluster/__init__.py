"""Tests of many relays as one service."""
