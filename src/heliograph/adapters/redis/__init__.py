"""What several machines share through Redis: rates, and profiles for rendering."""

from heliograph.adapters.redis.cache import RedisProfiles
from heliograph.adapters.redis.share import RedisShare

__all__ = ["RedisProfiles", "RedisShare"]
