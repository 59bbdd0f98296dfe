-- Ends what a server still holds once it has been taken out, so that it is asked again elsewhere (see haproxy.cfg).
--
-- "on-marked-down shutdown-sessions" does that too early: it also ends requests whose connection is still being made,
-- and HAProxy has nothing of those yet that it could send again. So first they get the time to be tried elsewhere.
-- And it does so too often: a busy server that misses two checks goes on answering. What it has begun is left to it;
-- asked again elsewhere, it would make the others busier still. A dead one has been silent for longer by then.
local POLL_MS, CONNECT_MS, SILENT_MS = 20, 70, 200

local function now_ms()
    local now = core.now()
    return now.sec * 1000 + now.usec / 1000
end

core.register_task(function()
    local down_since, sent, answered = {}, {}, {}
    while true do
        core.msleep(POLL_MS)
        for name, server in pairs(core.backends["servers"].servers) do
            local stats, now = server:get_stats(), now_ms()
            if stats.bout ~= sent[name] then
                sent[name], answered[name] = stats.bout, now
            end
            if stats.status ~= "DOWN" then
                down_since[name] = nil
            else
                down_since[name] = down_since[name] or now
                if now - down_since[name] > CONNECT_MS and now - answered[name] > SILENT_MS then
                    server:shut_sess()
                end
            end
        end
    end
end)
