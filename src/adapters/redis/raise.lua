-- Sets a number unless the stored one is the same or higher.
-- KEYS[1]: its key. ARGV[1]: the number. ARGV[2]: its lifetime in milliseconds.
local kept = redis.call('GET', KEYS[1])
if (tonumber(kept) or -1) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 0
