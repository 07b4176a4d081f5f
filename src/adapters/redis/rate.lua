-- Admits and counts one request, if it fits into the sliding window.
-- KEYS[1]: the counted client or address; its hash tag keeps the two windows in one slot.
-- KEYS[2]: if given, a proof that may be used once. It is kept for as long as any clock accepts it.
-- ARGV[1]: the limit. ARGV[2]: the time in milliseconds, or empty for this server's own.
-- All numbers are integers, as in the rule that this implements: domain/rate.rs.
local now = tonumber(ARGV[2])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local window = math.floor(now / 60000)
local elapsed = now - window * 60000
local key = KEYS[1] .. ':' .. string.format('%d', window)
local counts = redis.call('MGET', key, KEYS[1] .. ':' .. string.format('%d', window - 1))
-- A value that is not a count, written by another program, counts as 0: it must not make requests fail.
local function count(text)
    return text and string.match(text, '^%d%d?%d?%d?%d?%d?%d?%d?%d?%d?$') and tonumber(text) or 0
end
local current, previous = count(counts[1]), count(counts[2])
local admitted = 0
if previous * (60000 - elapsed) + (current + 1) * 60000 <= tonumber(ARGV[1]) * 60000 then
    if KEYS[2] and not redis.call('SET', KEYS[2], '1', 'NX', 'PX', 180000) then
        return {2, current, previous, now}
    end
    admitted = 1
    current = current + 1
    redis.call('SET', key, string.format('%d', current), 'PX', 120000)
end
return {admitted, current, previous, now}
