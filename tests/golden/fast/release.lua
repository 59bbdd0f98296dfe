-- Ends what a server still holds once it has been taken out, so that it is asked again elsewhere (see haproxy.cfg).
--
-- "on-marked-down shutdown-sessions" does that too early: it also ends requests whose connection is still being made,
-- and HAProxy has nothing of those yet that it could send again. So first they get the time to be tried elsewhere.
local POLL_MS, CONNECT_MS = 20, 70

local function now_ms()
    local now = core.now()
    return now.sec * 1000 + now.usec / 1000
end

core.register_task(function()
    local down_since = {}
    while true do
        core.msleep(POLL_MS)
        for name, server in pairs(core.backends["servers"].servers) do
            if server:get_stats().status ~= "DOWN" then
                down_since[name] = nil
            else
                down_since[name] = down_since[name] or now_ms()
                if now_ms() - down_since[name] > CONNECT_MS then
                    server:shut_sess()
                end
            end
        end
    end
end)
