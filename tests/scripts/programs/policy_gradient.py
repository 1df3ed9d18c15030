"""REINFORCE with a baseline, then PPO with clipped ratios and generalized advantages, on a pole to balance."""
import math
from collections import deque

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical


class Pole:
    """An inverted pendulum on a cart, Euler steps of 0.02 s."""

    def reset(self):
        self.state, self.steps = (torch.rand(4, generator=generator) * 0.1 - 0.05).tolist(), 0
        return list(self.state)

    def step(self, action):
        x, v, angle, spin = self.state
        force = 10.0 if action == 1 else -10.0
        push = (force + 0.05 * spin ** 2 * math.sin(angle)) / 1.1
        turn = (9.8 * math.sin(angle) - math.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1))
        speed = push - 0.05 * turn * math.cos(angle) / 1.1
        self.state = [x + 0.02 * v, v + 0.02 * speed, angle + 0.02 * spin, spin + 0.02 * turn]
        self.steps += 1
        done = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21 or self.steps >= 200
        return list(self.state), 1.0, done


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1, self.dropout, self.affine2 = nn.Linear(4, 64), nn.Dropout(p=0.6), nn.Linear(64, 2)
        self.saved_log_probs, self.rewards = [], []

    def forward(self, x):
        return F.softmax(self.affine2(F.relu(self.dropout(self.affine1(x)))), dim=1)


def reinforce(env, episodes=12):
    policy = Policy()
    optimizer, eps = optim.Adam(policy.parameters(), lr=1e-2), torch.finfo(torch.float32).eps
    for episode in range(episodes):
        state, done = env.reset(), False
        while not done:
            m = Categorical(policy(torch.tensor(state).float().unsqueeze(0)))
            action = m.sample()
            policy.saved_log_probs.append(m.log_prob(action))
            state, reward, done = env.step(action.item())
            policy.rewards.append(reward)
        R, returns = 0, deque()
        for r in policy.rewards[::-1]:
            R = r + 0.99 * R
            returns.appendleft(R)
        returns = torch.tensor(returns)
        returns = (returns - returns.mean()) / (returns.std() + eps)
        loss = torch.cat([-p * R for p, R in zip(policy.saved_log_probs, returns)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"episode {episode}: {len(policy.rewards)} steps, loss {loss.item():.3f}")
        del policy.rewards[:], policy.saved_log_probs[:]


def layer_init(layer, std=2 ** 0.5, bias_const=0.0):
    nn.init.orthogonal_(layer.weight, std)
    nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(layer_init(nn.Linear(4, 32)), nn.Tanh(), layer_init(nn.Linear(32, 1), std=1.0))
        self.actor = nn.Sequential(layer_init(nn.Linear(4, 32)), nn.Tanh(), layer_init(nn.Linear(32, 2), std=0.01))

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        action = probs.sample() if action is None else action
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


def ppo(envs, updates=6, steps=32, gamma=0.99, lam=0.95):
    agent, n = Agent(), len(envs)
    optimizer = optim.Adam(agent.parameters(), lr=2.5e-3, eps=1e-5)
    obs, actions = torch.zeros(steps, n, 4), torch.zeros(steps, n)
    logprobs, rewards, dones, values = (torch.zeros(steps, n) for _ in range(4))
    next_obs, next_done = torch.tensor([env.reset() for env in envs]), torch.zeros(n)
    for update in range(1, updates + 1):
        optimizer.param_groups[0]["lr"] = (1.0 - (update - 1.0) / updates) * 2.5e-3
        for step in range(steps):
            obs[step], dones[step] = next_obs, next_done
            with torch.no_grad():
                actions[step], logprobs[step], _, value = agent.get_action_and_value(next_obs)
                values[step] = value.flatten()
            new = [env.step(int(a)) for env, a in zip(envs, actions[step])]
            rewards[step] = torch.tensor([r for _, r, _ in new]).view(-1)
            next_done = torch.Tensor([d for *_, d in new])
            next_obs = torch.tensor([env.reset() if d else s for env, (s, _, d) in zip(envs, new)])
        with torch.no_grad():
            next_value, advantages, last = agent.critic(next_obs).reshape(1, -1), torch.zeros_like(rewards), 0
            for t in reversed(range(steps)):
                alive = 1.0 - (next_done if t == steps - 1 else dones[t + 1])
                after = next_value if t == steps - 1 else values[t + 1]
                advantages[t] = last = rewards[t] + gamma * after * alive - values[t] + gamma * lam * alive * last
            returns = advantages + values
        flat = [t.reshape((-1,) + t.shape[2:]) for t in (obs, logprobs, actions, advantages, returns, values)]
        for _ in range(4):
            for mb in torch.randperm(steps * n).split(32):
                o, old, a, adv, ret, val = (t[mb] for t in flat)
                _, new_log, entropy, new_value = agent.get_action_and_value(o, a.long())
                ratio = (new_log - old).exp()
                kl = ((ratio - 1) - (new_log - old)).mean().detach()
                adv = (adv - adv.mean()) / (adv.std() + 1e-8)
                pg = torch.max(-adv * ratio, -adv * torch.clamp(ratio, 1 - 0.2, 1 + 0.2)).mean()
                clipped = val + torch.clamp(new_value.view(-1) - val, -0.2, 0.2)
                v = 0.5 * torch.max((new_value.view(-1) - ret) ** 2, (clipped - ret) ** 2).mean()
                optimizer.zero_grad()
                (pg - 0.01 * entropy.mean() + v * 0.5).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        print(f"update {update}: policy {pg:.4f}, value {v:.4f}, entropy {entropy.mean():.4f}, kl {kl:.4f}, "
              f"ended {int(dones.sum())}")


torch.manual_seed(543)
generator = torch.Generator().manual_seed(1)
reinforce(Pole())
ppo([Pole() for _ in range(4)])
